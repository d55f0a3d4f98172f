"""A module of the stock package that ours have no counterpart of."""

WHOSE = "stock"

"""A small stand-in for the package of a stock worker: what it is to be replaced by ours in, and no more."""

CORRELATION_HEADER = "x-snakepit-correlation-id"


def set_correlation_id(value):
    raise AssertionError("the stock correlation was used")


def get_correlation_id(default=None):
    raise AssertionError("the stock correlation was used")

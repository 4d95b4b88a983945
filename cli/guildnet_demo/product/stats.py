"""Small statistics over lists of numbers."""


def average(numbers):
    """The arithmetic mean; 0.0 of nothing."""
    return sum(numbers) / len(numbers)


def spread(numbers):
    """The distance between the largest and the smallest."""
    return max(numbers) - min(numbers)

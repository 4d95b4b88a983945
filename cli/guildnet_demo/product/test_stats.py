import unittest

from stats import average, spread


class Average(unittest.TestCase):
    def test_of_some(self):
        self.assertEqual(average([1, 2, 3]), 2)

    def test_of_nothing_is_zero(self):
        self.assertEqual(average([]), 0.0)


class Spread(unittest.TestCase):
    def test_of_some(self):
        self.assertEqual(spread([3, 1, 7]), 6)


if __name__ == "__main__":
    unittest.main()

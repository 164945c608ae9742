"""Areas: how much there is of each class, with errors, from a sample that people judged."""

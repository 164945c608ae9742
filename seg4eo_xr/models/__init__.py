"""Networks and the checkpoints that carry them."""

"""Planning: what a prediction will cost, before it runs."""

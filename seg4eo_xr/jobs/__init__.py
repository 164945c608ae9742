"""Jobs: predictions as independent tiles that survive whatever stops them."""

"""What a user has: pictures, label files, lists, and what can be wrong with them."""

"""What training and evaluation see of a data set: batches."""

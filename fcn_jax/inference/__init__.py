"""Trained networks at work on pictures without labels: sizes, views, windows, and what is kept."""

"""Check a data set before training: survey its stories, find overlaps of splits, judge the numbers, write a report."""

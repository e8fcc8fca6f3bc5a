"""A run or its student as files."""

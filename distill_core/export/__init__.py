"""Export of a run or its student as files."""

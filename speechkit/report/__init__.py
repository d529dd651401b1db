"""What people read: scores of a decoded set and the table of results."""

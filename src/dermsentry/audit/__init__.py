"""What is wrong with a collection: unreadable files, copies, conflicts, leaks, balance, shortcuts."""

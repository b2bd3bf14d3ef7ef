"""Plans cells, runs each in a process of its own, resumes, and writes tables."""

"""Records on their way through a process: taken, sorted to their sites, worked on, ended."""

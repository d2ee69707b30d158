"""How mail shares the questions to the DNS, and the names that were unanswered recently."""

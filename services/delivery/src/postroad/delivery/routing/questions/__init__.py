"""The order of questions to the DNS, and the names that were unanswered recently."""

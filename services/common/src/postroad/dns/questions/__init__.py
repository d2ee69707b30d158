"""
How mail shares the questions to the DNS, and the names that were unanswered recently.

In: who asks which question (`Asker`), from the router and the resolver. Out: whose turn it is to
ask the DNS, and what was unanswered recently.
"""

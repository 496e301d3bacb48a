"""Many runs from one command: a queue of jobs over GPUs and CPU slots, their journal, search, and what is made of the results."""

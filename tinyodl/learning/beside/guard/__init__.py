"""The guard: undoes learning that makes the network worse on samples it holds back."""

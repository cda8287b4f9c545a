"""What the commands in perf/ share: processes and their cost, contestants, workloads, reports."""

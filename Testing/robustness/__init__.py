"""What is done to the library on purpose: damaged streams, changed constants. See docs/robustness.md."""

"""What all tests share."""

import os

# Tiny networks on several threads each, in several test processes at once, spend their time waiting
# for one another: two processes of two threads on two cores are some five times slower. To be set
# before torch or NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

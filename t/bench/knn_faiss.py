#!/usr/bin/python3
"""FAISS IndexFlatIP at its best: knn_faiss.py KEYS.npy QUERIES.npy K, a number of threads a line
on stdin, the seconds of a search on stdout.  Debian: python3-faiss libopenblas0-openmp."""
import os
import sys
import time

OPENMP = "/usr/lib/x86_64-linux-gnu/openblas-openmp"
if "OPENBLAS_CORETYPE" not in os.environ:
    cpu = open("/proc/cpuinfo").read()
    os.environ["OPENBLAS_CORETYPE"] = "SkylakeX" if " avx512f " in cpu else "Haswell"
    if os.path.isdir(OPENMP):
        os.environ["LD_LIBRARY_PATH"] = OPENMP
    os.execv(sys.executable, [sys.executable] + sys.argv)

import faiss
import numpy as np

keys, queries, k = np.load(sys.argv[1]), np.load(sys.argv[2]), int(sys.argv[3])
index = faiss.IndexFlatIP(keys.shape[1])
index.add(keys)
index.search(queries[:64], k)
print("ready", flush=True)
for line in sys.stdin:
    faiss.omp_set_num_threads(int(line))
    begun = time.perf_counter()
    index.search(queries, k)
    print(time.perf_counter() - begun, flush=True)

"""replay.py TRACE SLOTS lru|lfu: accesses per second of a plain replay with Belady's limit."""
import csv
import heapq
import sys
import time
from collections import OrderedDict

def lru(items, slots):
    pool, hits = OrderedDict(), 0
    for item in items:
        if item in pool:
            hits += 1
            pool.move_to_end(item)
        else:
            if len(pool) == slots:
                pool.popitem(False)
            pool[item] = True
    return hits

def by_rank(items, slots, rank):
    """Evict the least rank; stale entries of the heap are passed over."""
    pool, heap, hits = {}, [], 0
    for time_, item in enumerate(items):
        new = rank(time_, item)
        if item in pool:
            hits += 1
        elif len(pool) == slots:
            while pool.get(heap[0][1]) != heap[0][0]:
                heapq.heappop(heap)
            del pool[heapq.heappop(heap)[1]]
        pool[item] = new
        heapq.heappush(heap, (new, item))
    return hits

def lfu(items, slots):
    uses = {}
    def rank(time_, item):
        uses[item] = uses.get(item, 0) + 1
        return uses[item], time_
    return by_rank(items, slots, rank)

def limit(items, slots):
    following, after = [0] * len(items), {}
    for i in range(len(items) - 1, -1, -1):
        following[i] = after.get(items[i], len(items))
        after[items[i]] = i
    return by_rank(items, slots, lambda time_, item: -following[time_])

start = time.time()
with open(sys.argv[1]) as f:
    items = [(int(r["layer"]), int(r["expert"])) for r in csv.DictReader(f)]
{"lru": lru, "lfu": lfu}[sys.argv[3]](items, int(sys.argv[2]))
limit(items, int(sys.argv[2]))
print(len(items) / (time.time() - start))

"""The pure core: batches of logged events become sums that can be merged in any order."""

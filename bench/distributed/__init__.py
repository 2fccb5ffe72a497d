"""One cell on several processes: network calls are shared out by rows, all else is done by each of them."""

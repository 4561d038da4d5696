# Service names and the ranking of ports, from pinned sources: src/services/README.md
.PHONY: services
services:
	python3 src/services/update.py

"""Grafana dashboards as code: `python -m bench.dashboards` writes the JSON that the package carries.

Grafana's own types (grafana-foundation-sdk, the line of Grafana 11.6) know what a panel may hold; the queries are ours.
``parts`` says how panels, variables and links look, and each dashboard is a module that reads like its page.

Three rules hold for every query. It aggregates, so that no series differs by the instance that was scraped. It never
fills in a value: after a void window a line ends. And variables ask for what is there at the end of the time range, so
that a measurement that is gone does not stay in a list.
"""

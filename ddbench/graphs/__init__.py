"""The second kind of data, graphs: their data sets, networks, task, artefacts and evaluation."""

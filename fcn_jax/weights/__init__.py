"""Pretrained weights: read from Caffe and torch files, renamed for the networks here, and back.

`importer` and `exporter` exchange them with other projects, `files` knows their formats,
`network_file` what this project puts into one, and `transplant` puts arrays into a network.
Arrays are numpy; a leaf is named by its path among a network's variables, joined with "/":
`params/backbone/conv1_1/kernel`, `batch_stats/backbone/conv1_1/norm/mean`.
"""

"""Data in three wings: what a user has, the data sets, and what training sees.

    labels, source           what every wing speaks of: classes, and pairs by their number
    files                    pictures, labels, lists and the problems with them; a folder's survey
    sets                     one file a data set; a survey is built into TFDS files once
    batches                  crops, augmentation, padding; it knows neither files nor sets
    datasets, checkup        data sets by name, and what is wrong with a folder

An image is RGB `uint8 [h, w, 3]`, its label a map of class numbers `uint8 [h, w]` of the same size;
255 is void everywhere. Nothing here uses jax arrays. Import the modules, not this package:
`datasets` for a data set by name, `loader` for batches; the heavy libraries come in with them.
"""

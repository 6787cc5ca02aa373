"""Images, splits, file names and reading ahead: what every data set of an application needs."""

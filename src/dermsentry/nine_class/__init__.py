"""The nine-class ISIC study: three networks under two protocols, with conclusions, a report and a bundle."""

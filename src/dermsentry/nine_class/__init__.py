"""The nine-class ISIC study: three networks under two protocols, with findings, a report and a bundle."""

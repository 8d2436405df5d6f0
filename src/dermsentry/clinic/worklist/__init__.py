"""The worklist: which cases wait, who decided what, second reads."""

"""From past and present BEV features to one."""

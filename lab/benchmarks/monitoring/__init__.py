"""How soon the monitoring of a served product notices that something is wrong: measured on the running product."""

#!/bin/sh
if [ -e "$(dirname "$0")/flag" ]; then echo '{"g": {"hosts": ["h1", "h3"], "vars": {"v": "after"}}, "_meta": {"hostvars": {"h1": {"ansible_connection": "local"}, "h3": {"ansible_connection": "local"}}}}'; else echo '{"g": {"hosts": ["h1", "h2"], "vars": {"v": "before"}}, "_meta": {"hostvars": {"h1": {"ansible_connection": "local"}, "h2": {"ansible_connection": "local"}}}}'; fi

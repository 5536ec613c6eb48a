755 root
#!/bin/bash
# Written by `shanraq cluster render` from cluster.toml: change that file, not this one.
exec 3<>/dev/tcp/192.0.2.1/7411 || exit 1
printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3
read -r -t 1 line <&3
[[ $line == *' 200 '* ]]

module guildnet.io/devcluster/runc-wrapper

go 1.26.0

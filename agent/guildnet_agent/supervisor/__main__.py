from __future__ import annotations

import sys

from guildnet_agent.supervisor.main import main

sys.exit(main())

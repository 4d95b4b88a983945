from __future__ import annotations

import sys

from guildnet_agent.shim.main import main

sys.exit(main())

// What `require('fastify-mcp-sessions')` gives: the plugin itself, as with other plugins, with all else on it. Node.js
// takes the export of this name for the whole module.
import * as all from './index.js'

const plugin = Object.assign(all.mcpSessions, all)

export { plugin as 'module.exports' }

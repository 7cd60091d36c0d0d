// The package as it is imported and required. `require()` gives the plugin itself, as with other plugins, with all else
// on it: Node.js takes the export of that name for the whole module.
import * as all from './index.js'

export * from './index.js'
export { default } from './index.js'

const plugin = Object.assign(all.mcpSessions, all)
export { plugin as 'module.exports' }

import neostandard, { resolveIgnoresFromGitignore } from 'neostandard'

// The folders of lib, each with those that it may import from: edges run one way. `endpoint` and `cluster`
// do not know each other; they meet in contracts that `http` owns.
const layers = {
  base: [],
  observe: ['base'],
  session: ['base', 'observe'],
  http: ['base', 'observe', 'session'],
  endpoint: ['base', 'observe', 'session', 'http'],
  cluster: ['base', 'observe', 'session', 'http'],
  telemetry: ['base', 'observe', 'session'],
  plugin: ['base', 'observe', 'session', 'http', 'endpoint', 'cluster', 'telemetry'],
  testing: ['base', 'session', 'http'],
  dashboard: ['base', 'observe', 'session', 'http']
}

// Packages that a folder must not import.
const strangers = {
  base: ['fastify', '@modelcontextprotocol/', 'ioredis'],
  observe: ['fastify', '@modelcontextprotocol/', 'ioredis'],
  session: ['fastify', '@modelcontextprotocol/', 'ioredis'],
  http: ['@modelcontextprotocol/', 'ioredis'],
  endpoint: ['ioredis'],
  cluster: ['@modelcontextprotocol/'],
  telemetry: ['fastify', '@modelcontextprotocol/', 'ioredis'],
  plugin: ['@modelcontextprotocol/', 'ioredis'],
  testing: ['ioredis'],
  dashboard: ['@modelcontextprotocol/', 'ioredis']
}

// Folders within a folder, each with those beside it that it may import from.
const subfolders = {
  'endpoint/transport': [],
  'endpoint/modern': ['transport']
}

function keepSubfolder ([subfolder, others]) {
  const [folder] = subfolder.split('/')
  return { ...keepLayer(folder, others), files: [`lib/${subfolder}/**/*.ts`] }
}

function keepLayer (folder, others = []) {
  const allowed = [folder, ...layers[folder], ...others].join('|')
  const message = `lib/${folder} imports from ${[folder, ...layers[folder]].join(', ')} only: see eslint.config.js`
  return {
    files: [`lib/${folder}/**/*.ts`],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [
          { regex: `^(\\.\\./)+(?!(${allowed})/)[a-z]+/`, message },
          { regex: '^(\\.\\./)+index\\.js$', message: 'index.ts is for those who use the package' },
          ...strangers[folder].map((name) => ({ regex: `^${name}`, message: `lib/${folder} does not know ${name}` }))
        ]
      }]
    }
  }
}

export default [
  ...neostandard({ ts: true, noJsx: true, ignores: resolveIgnoresFromGitignore() }),
  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/no-explicit-any': 'error'
    }
  },
  ...Object.keys(layers).map((folder) => keepLayer(folder)),
  ...Object.entries(subfolders).map(keepSubfolder),
  {
    files: ['lib/dashboard/page/*.js'],
    languageOptions: { globals: { EventSource: 'readonly', ResizeObserver: 'readonly' } }
  },
  {
    files: ['lib/*.ts'],
    rules: {
      'no-restricted-syntax': ['error', { selector: 'Program', message: 'A file of lib belongs into one of its folders' }]
    }
  }
]

/** A schema that can be converted to JSON Schema: what tools of SDK 2 take. See https://standardschema.dev/json-schema */
export interface JsonConvertibleSchema {
  readonly '~standard': { readonly jsonSchema: { readonly input: SchemaConverter, readonly output: SchemaConverter } }
}

/** Converts one side of a schema to JSON Schema: its input, or its output. */
export type SchemaConverter = (options: SchemaConverterOptions) => Record<string, unknown>

/** The options of a converter of Standard JSON Schema. */
export interface SchemaConverterOptions {
  /** The dialect of JSON Schema. */
  readonly target: string
  readonly libraryOptions?: Record<string, unknown> | undefined
}

const memoised = new WeakMap<object, object>()

/**
 * The same schema, but converted to JSON Schema only once. SDK 2 converts those of all tools with each `tools/list`, and for
 * clients of 2026-07-28 that of the called tool with each `tools/call`. Call it once per schema, outside of `createServer`.
 *
 * The JSON Schema is shared by all servers, and therefore frozen.
 *
 * @throws TypeError for a schema that cannot be converted to JSON Schema, such as one of zod before 4.2
 * @example
 * ```ts
 * const note = memoiseSchema(z.object({ text: z.string() }))
 *
 * function createServer () {
 *   const server = new McpServer({ name: 'notes', version: '1.0.0' })
 *   server.registerTool('note', { inputSchema: note }, ({ text }) => save(text))
 *   return server
 * }
 * ```
 */
export function memoiseSchema<S extends JsonConvertibleSchema> (schema: S): S {
  const known = memoised.get(schema)
  // The map has only heirs as values, each of the type of its schema: Object() hands it back as it is.
  if (known !== undefined) return Object(known)
  const { '~standard': standard }: JsonConvertibleSchema = schema
  if (!('jsonSchema' in standard)) {
    throw new TypeError(
      'memoiseSchema() takes a schema that implements Standard JSON Schema (`~standard.jsonSchema`), as those of zod do from 4.2.0 on'
    )
  }
  const { input, output } = standard.jsonSchema
  // It inherits all else that the library and the app look for on a schema.
  const heir: S = Object.create(schema, {
    '~standard': { value: { ...standard, jsonSchema: { input: memoise(input), output: memoise(output) } } }
  })
  memoised.set(schema, heir).set(heir, heir)
  return heir
}

function memoise (convert: SchemaConverter): SchemaConverter {
  const made = new Map<string, Record<string, unknown>>()
  return (options) => {
    // What these options mean only the library knows, so its answer is not kept.
    if (options.libraryOptions !== undefined) return convert(options)
    const json = made.get(options.target) ?? freeze(convert(options))
    made.set(options.target, json)
    return json
  }
}

function freeze<T extends object> (value: T): T {
  Object.freeze(value)
  for (const member of Object.values(value)) {
    if (typeof member === 'object' && member !== null && !Object.isFrozen(member)) freeze(member)
  }
  return value
}

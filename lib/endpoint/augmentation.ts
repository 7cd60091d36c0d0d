import type { FastifyBaseLogger, FastifyTypeProvider, RawServerBase, RawServerDefault, RegisterOptions } from 'fastify'
import type { mcpEndpoint } from './endpoint.js'
import type { DualEndpointOptions, SessionEndpointOptions } from './options.js'

/* eslint-disable @typescript-eslint/no-unused-vars -- an interface that is merged has all its parameters */
declare module 'fastify' {
  /*
   * Options of a plugin can be a function, too, and with that possibility TypeScript does not tell one kind of endpoint
   * from the other by `modern`. Of two signatures it takes the one that fits, and `createServer` knows what it is called with.
   */
  interface FastifyRegister<
    T = void,
    RawServer extends RawServerBase = RawServerDefault,
    TypeProviderDefault extends FastifyTypeProvider = FastifyTypeProvider,
    LoggerDefault extends FastifyBaseLogger = FastifyBaseLogger
  > {
    (plugin: typeof mcpEndpoint, options: RegisterOptions & SessionEndpointOptions): T
    (plugin: typeof mcpEndpoint, options: RegisterOptions & DualEndpointOptions): T
  }
}

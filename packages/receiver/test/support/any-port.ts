/** Loaded before an example: what listens on port 3000 gets a free port of the loopback interface, and the parent is told. */
import { type AddressInfo, Server } from 'node:net';

const { listen } = Server.prototype;

Server.prototype.listen = function (this: Server, ...args: unknown[]): Server {
  this.once('listening', () => process.send?.({ port: (this.address() as AddressInfo).port }));
  const callback = args.filter((arg) => typeof arg === 'function');
  return Reflect.apply(listen, this, [{ port: 0, host: '127.0.0.1' }, ...callback]) as Server;
} as typeof listen;

require('./index.cjs').run('dns-cutover');
